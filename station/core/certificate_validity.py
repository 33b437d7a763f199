"""Validity of certificates: when one expires, and when the station renews it. A03.FR.02."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from journal.projections.certificates import CertificateInstalled

RENEWAL_DAYS: Final = "SecurityCtrlr.CertificateRenewalDays"


def expires_at(certificate: CertificateInstalled) -> datetime:
    """The end of the validity, UTC."""
    return datetime.fromisoformat(certificate.not_after)


def renewal_due_at(certificate: CertificateInstalled, renewal_days: int) -> datetime:
    """When a renewal is due: that many days before the end, but not in the first two thirds."""
    begins_at = datetime.fromisoformat(certificate.not_before)
    ends_at = expires_at(certificate)
    return max(ends_at - timedelta(days=renewal_days), begins_at + (ends_at - begins_at) * 2 / 3)

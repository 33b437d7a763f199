"""`station renew-certificate`: request a new certificate of the station from the CSMS. A02."""

from __future__ import annotations

from pathlib import Path

import click

from station.commands.shared.control_client import STATION_SOCKET, send_request
from station.commands.shared.station_option import find_data_directory, station_options

USES = ("ChargingStationCertificate", "V2GCertificate")


@click.command("renew-certificate")
@click.argument("use", type=click.Choice(USES), default=USES[0])
@station_options
def renew_certificate_command(use: str, config: Path | None, data: Path | None) -> None:
    """Request a new certificate for the running station from its CSMS, with a new key pair.

    USE is ChargingStationCertificate unless you give another. The station uses the certificate as
    soon as the CSMS sends it; `station status` shows how far the request is.
    """
    socket = find_data_directory(config, data) / STATION_SOCKET
    reply = send_request(socket, "renew_certificate", use=use)
    when = "is sent now" if reply["online"] else "is sent when the station is online"
    click.echo(f"{use}: the request {when}; `station status` shows its result")

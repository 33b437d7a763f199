"""The structs of product profiles and device model files.

The README in this directory explains the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from station.profiles import certificate_questions

Answer = bool | int | str | tuple[str, ...]


class ProfileError(Exception):
    """A profile is invalid. The message is one line: the file, the error, what to do."""


class ProductCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certificate of the product: holder, laboratory, numbers. Dates are ISO 8601."""

    number: str
    holder: str
    profiles: tuple[str, ...]
    date: str
    tested: str
    specification: str
    laboratory: str
    report: str
    configuration: str = ""
    firmware_sha256: str = ""


class Nameplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Texts of BootNotification and of the nameplate."""

    designation: str
    model: str
    vendor_name: str
    firmware_version: str


class Supply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The grid connection, AC also for a DC station."""

    phases: int
    power_max_w: int
    # Power at the outputs, of the power taken from the grid; not above the real one.
    efficiency_percent: int = 95
    phase_voltage_v: int = 230  # between a phase and neutral; for limits in A per phase


class Connector(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One plug or socket; `id` counts within its EVSE, from 1."""

    id: int
    type: str  # ConnectorEnumType
    cable: Literal["fixed", "detachable"]


class Evse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Serves one EV at a time; `id` counts from 1."""

    id: int
    power_max_w: int
    connectors: tuple[Connector, ...]
    voltage_nominal_v: int = 400  # for limits in A while the voltage of the EV is not known


class MeasurandChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The measurands of one kind of sample, C-40."""

    supported: tuple[str, ...]
    default: tuple[str, ...]
    tested: tuple[str, ...] = ()  # seen by the laboratory; no effect on the station


class Measurands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """C-40.1 to C-40.5."""

    tx_started: MeasurandChoice
    tx_updated: MeasurandChoice
    tx_ended: MeasurandChoice
    aligned: MeasurandChoice
    aligned_tx_ended: MeasurandChoice


class TransactionPoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Factory values of TxStartPoint and TxStopPoint."""

    start_points: tuple[str, ...]
    stop_points: tuple[str, ...]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of messages, stores and slots. `LIMIT_BY_SETTING` has their ids in the certificate."""

    items_per_message_get_report: int
    items_per_message_get_variables: int
    items_per_message_set_variables: int
    bytes_per_message_get_report: int
    bytes_per_message_get_variables: int
    bytes_per_message_set_variables: int
    web_socket_ping_interval_s: int
    certificate_entries: int
    file_transfer_protocols: tuple[str, ...]
    network_slots: int
    auth_cache_bytes: int


class SmartCharging(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of charging profiles, published in SmartChargingCtrlr."""

    profile_entries: int = 32  # installed at any time
    periods_per_schedule: int = 1000
    stack_level_max: int = 9


class Monitoring(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of variable monitoring, published in MonitoringCtrlr. Block N."""

    monitors: int = 500  # that the CSMS can set
    items_per_message_set: int = 100
    items_per_message_clear: int = 500
    bytes_per_message_set: int = 65_536
    bytes_per_message_clear: int = 16_384


class MonitorRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A monitor of the product, made for each place of its component. N03, N07.

    `id` counts from 1; the id of a monitor is 100 times that, plus the number of the place.
    """

    id: int
    component: str
    variable: str
    severity: int  # 0 (danger) to 9 (debug)
    instance: str | None = None  # of the component
    type: Literal["UpperThreshold", "LowerThreshold", "Delta", "Periodic"] = "Delta"
    value: int = 1
    kind: Literal["notification", "hard_wired", "preconfigured"] = "preconfigured"
    factory_default: bool = True  # of preconfigured ones: active with FactoryDefault


class LocalList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of the Local Authorization List, published in LocalAuthListCtrlr."""

    entries: int = 100_000  # idTokens
    items_per_message: int = 200
    bytes_per_message: int = 65_536


class ResponseTime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the response-time table of the certificate, in seconds; None: not measured."""

    name: str
    limit_s: Decimal
    min_s: Decimal | None = None
    max_s: Decimal | None = None
    average_s: Decimal | None = None


DataType = Literal[
    "string",
    "integer",
    "decimal",
    "boolean",
    "dateTime",
    "OptionList",
    "SequenceList",
    "MemberList",
]


class VariableRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variable of a device model file; `core.device_model.model` makes its definition.

    `value`, `max` and `values` may refer to a fact of the profile: `$limits.network_slots`.
    `when`, `preset` and `writable` may be a condition on answers: `C-51 and not C-13`.
    """

    name: str
    type: DataType
    instance: str | None = None
    value: str | None = None  # factory value
    unit: str | None = None
    min: int | None = None
    floor: int | None = None  # least value besides 0, which turns an interval off
    max: int | str | None = None
    values: str | None = None  # comma separated
    writable: bool | str = False
    when: str | None = None  # condition for the variable to exist
    source: str | None = None  # name of a measured value: VALUE_SOURCES
    constant: bool = False  # never changes while the station runs
    secret: bool = False  # WriteOnly, never journaled, logged or reported
    reboot: bool = False  # a change takes effect after a reboot
    may_be_empty: bool = False  # of lists
    rule: str | None = None  # name of a further check: VALUE_RULES
    preset: str | None = None  # condition for station.toml to set another value


class ComponentRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One component of the device model, made once for each `per`."""

    name: str
    variables: tuple[VariableRow, ...]
    instance: str | None = None
    per: Literal["station", "evse", "connector"] = "station"
    when: str | None = None


class DeviceModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device model file."""

    component: tuple[ComponentRow, ...]


class VariableOverride(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of one variable of the device model: `[[variable]]` of a profile."""

    component: str
    variable: str
    instance: str | None = None  # of the component
    variable_instance: str | None = None
    evse: int | None = None  # None: all
    connector: int | None = None
    value: str | None = None
    writable: bool | None = None


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product. Nothing in it changes while the station runs."""

    name: str
    device_model: str  # file beside the profile, or beside this module
    product: Nameplate
    supply: Supply
    evse: tuple[Evse, ...]
    hardware: dict[str, Answer]
    features: dict[str, Answer]
    questions: dict[str, Answer]
    measurands: Measurands
    transaction: TransactionPoints
    limits: Limits
    smart_charging: SmartCharging = SmartCharging()
    monitoring: Monitoring = Monitoring()
    monitor: tuple[MonitorRow, ...] = ()
    local_list: LocalList = LocalList()
    certificate: ProductCertificate | None = None
    response_time: tuple[ResponseTime, ...] = ()
    component: tuple[ComponentRow, ...] = ()
    variable: tuple[VariableOverride, ...] = ()

    def certificate_answer(self, question: str) -> Answer:
        """The answer to HFS-x, C-xx, AS-x, SC-x, AQ-x or ORS-x.

        Raises:
            KeyError: there is no such question, or no answer to it.
        """
        if question in certificate_questions.LIMIT_BY_SETTING:
            value: Answer = getattr(self.limits, certificate_questions.LIMIT_BY_SETTING[question])
            return value
        for answers in (self.features, self.hardware, self.questions):
            if question in answers:
                return answers[question]
        raise KeyError(question)

    def supports(self, question: str) -> bool:
        """Whether the answer is true, a list that is not empty, or a number above 0.

        False for a feature of a certification profile that the product does not have.

        Raises:
            KeyError: there is no such question.
        """
        try:
            return bool(self.certificate_answer(question))
        except KeyError:
            if question in certificate_questions.OPTIONAL_PROFILE_FEATURES:
                return False
            raise

    def meets_condition(self, condition: str) -> bool:
        """Whether a condition such as `C-07 or C-08` or `C-51 and not C-13` holds.

        `and` binds tighter than `or`; there are no brackets.

        Raises:
            ProfileError: an unknown question.
        """
        return any(
            all(self._meets_term(term.strip()) for term in group.split(" and "))
            for group in condition.split(" or ")
        )

    def _meets_term(self, term: str) -> bool:
        question = term.removeprefix("not ").strip()
        try:
            return self.supports(question) is not term.startswith("not ")
        except KeyError:
            raise ProfileError(f"{self.name}: no answer to {question!r} of a condition") from None

    def _supported_names(self, meanings: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(name for question, name in meanings.items() if self.supports(question))

    @property
    def evse_ids(self) -> tuple[int, ...]:
        """1 to the number of EVSEs."""
        return tuple(evse.id for evse in self.evse)

    @property
    def evse_count(self) -> int:
        """The number of EVSEs, which is also that of reservations at most."""
        return len(self.evse)

    @property
    def security_profiles(self) -> tuple[int, ...]:
        """The security profiles the station may use; profile 1 only if C-61 allows it."""
        return (1, 2, 3) if self.supports("C-61") else (2, 3)

    @property
    def tx_start_points(self) -> tuple[str, ...]:
        """TxStartPoint values of the product. C-09."""
        return self._supported_names(certificate_questions.TX_START_POINTS)

    @property
    def tx_stop_points(self) -> tuple[str, ...]:
        """TxStopPoint values of the product. C-10."""
        return self._supported_names(certificate_questions.TX_STOP_POINTS)

    @property
    def triggers(self) -> tuple[str, ...]:
        """Messages that TriggerMessage may request. C-29.

        Heartbeat and the certificate triggers are not optional and not listed here.
        """
        return self._supported_names(certificate_questions.TRIGGERS)

    @property
    def charging_rate_units(self) -> tuple[str, ...]:
        """ChargingRateUnitEnumType of charging profiles; none: no smart charging. SC-2."""
        return self._supported_names(certificate_questions.CHARGING_RATE_UNITS)

    @property
    def has_monitoring(self) -> bool:
        """Whether the CSMS can monitor variables. N02 to N08, DM-3."""
        return self.supports("DM-3")

    @property
    def message_priorities(self) -> tuple[str, ...]:
        """Priorities of display messages. UI-1."""
        return self._supported_names(certificate_questions.MESSAGE_PRIORITIES)

    @property
    def message_formats(self) -> tuple[str, ...]:
        """Formats of display messages. UI-2."""
        return self._supported_names(certificate_questions.MESSAGE_FORMATS)

    @property
    def local_id_token_types(self) -> tuple[str, ...]:
        """IdTokenEnumType values that may start a transaction at the station. C-30 to C-35."""
        return self._supported_names(certificate_questions.LOCAL_ID_TOKEN_TYPES)

    @property
    def remote_id_token_types(self) -> tuple[str, ...]:
        """IdTokenEnumType values in RequestStartTransaction. C-36 to C-39."""
        return self._supported_names(certificate_questions.REMOTE_ID_TOKEN_TYPES)

    @property
    def token_types(self) -> tuple[str, ...]:
        """Local and remote ones together."""
        return tuple(dict.fromkeys((*self.local_id_token_types, *self.remote_id_token_types)))

    @property
    def time_sources(self) -> tuple[str, ...]:
        """Time sources. C-23."""
        return _as_tuple(self.certificate_answer("C-23"))

    @property
    def cipher_suites(self) -> tuple[str, ...]:
        """TLS cipher suites by their IANA names. C-41."""
        return _as_tuple(self.certificate_answer("C-41"))

    @property
    def cache_policies(self) -> tuple[str, ...]:
        """Policies for replacing cached idTokens; none: the CSMS cannot set one. C-54."""
        return _as_tuple(self.certificate_answer("C-54"))

    @property
    def network_slots(self) -> tuple[str, ...]:
        """The slots of SetNetworkProfile, from 1. B09.FR.06."""
        return tuple(str(slot) for slot in range(1, self.limits.network_slots + 1))

    @property
    def unlocks_on_ev_side_disconnect(self) -> bool:
        """Whether a detachable cable is unlocked when the EV is disconnected. C-12.1."""
        return self.supports("C-12.1") and self.supports("HFS-1")


def _as_tuple(answer: Answer) -> tuple[str, ...]:
    return answer if isinstance(answer, tuple) else ()

"""A compliance tool: the test cases for Charging Stations of OCPP 2.0.1 Part 6, played for real.

A CSMS of our own plays each case against a station process over a WebSocket, with the control
socket of the emulated hardware as the tester's hands. `python -m tests.conformance.octt --help`; README,
"Conformance".
"""

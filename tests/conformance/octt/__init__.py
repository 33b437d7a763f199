"""Compliance tool: the test cases for Charging Stations of OCPP 2.0.1 Part 6.

A test CSMS runs each case against a station process over a real WebSocket. Manual actions (plug,
card, button) are requests to the control socket of the emulated hardware. Every frame is checked
against the official JSON schemas. `python -m tests.conformance.octt --help`; see tests/README.md,
"Conformance".

* `applicability.py`, `cases.json`: which cases apply to a product, by Part 5's conditions;
* `cases/`: the cases, one module per functional block, each a function of a `Tester`;
* `tester.py`, `states.py`, `verify.py`: steps, reusable states and checks that cases consist of;
* `bench.py`, `certificates.py`, `files.py`: station process, CSMS, certificates, file server;
* `runner.py`, `report.py`, `__main__.py`: several cases at a time, and the test report;
* `mutants/`: stations with one fault each, which prove that every case can fail.
"""

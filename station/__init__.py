"""The program that runs on an EV charging station and speaks OCPP 2.0.1 with its CSMS."""

RELEASE = "0.1.0"

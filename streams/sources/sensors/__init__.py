"""The door of the SDKs of Sensors Data (神策)."""

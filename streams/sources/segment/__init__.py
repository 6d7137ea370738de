"""The door of Segment's and RudderStack's SDKs, and of our own envelope."""

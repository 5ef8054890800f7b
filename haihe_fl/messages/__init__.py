"""The closed list of messages that may cross the trust boundary."""

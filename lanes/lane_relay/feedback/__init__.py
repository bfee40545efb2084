"""What comes back from recipients: return paths, reports of bounces and complaints, unsubscribing, suppression.

Before it: `deliver` asks for return paths, peers and people send reports. After it: records through the spool, and the
suppression list, which intake and delivery ask.
"""

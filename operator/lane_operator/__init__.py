"""The operator: reads SendingLane, IPPool and ISPPolicy, keeps the children of each lane, writes status."""

"""The admin API /v1: thin; every act is a method of the stage that owns the state."""

"""The settings file, the names of settings, and the settings in force with their sources."""

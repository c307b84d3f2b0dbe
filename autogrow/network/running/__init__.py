"""Running a module, and looking on, without leaving a trace in it."""

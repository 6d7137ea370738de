"""The stream processors, from the HTTP edge to the Faust agents."""

"""An HTTP/1.1 client for one server: few objects for a request, and none that looks at all the others."""

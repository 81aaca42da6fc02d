"""Cases that somebody made up to break things: what comes over the wire, out of files, and back from upstreams."""

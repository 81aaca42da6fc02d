"""What breaks, broken on purpose: crashes, disks, upstreams, floods."""

"""Speed against a peer, each a script that first checks that both compute the same."""

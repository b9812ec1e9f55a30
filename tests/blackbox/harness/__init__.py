"""What the black-box tests are made of: addresses, certificates, the program, its clients and its upstreams."""

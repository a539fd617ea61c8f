"""Everything an administrator can do, and the interfaces to it: REST, remote client, command line, pages."""

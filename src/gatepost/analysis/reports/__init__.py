"""Reports of what happened: TLS by domain and connector, TLS-RPT in and out, evidence exports."""

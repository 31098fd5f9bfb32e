"""What people look at as HTML: results, certificates, plans and reports, without any server."""

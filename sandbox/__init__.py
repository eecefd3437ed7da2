"""The outside world on loopback, for a local run without any account and for the tests.

Real processes, real TLS, real HTTP and gRPC: the function reaches it through the standard variables
(HTTPS_PROXY, REQUESTS_CA_BUNDLE, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, GOOGLE_APPLICATION_CREDENTIALS)
and knows nothing of it.
"""

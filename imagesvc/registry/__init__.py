"""Registries: what is said to them, and to whom.

    credentials     who we are at a registry: the CRI's AuthConfig, Docker's config files
    challenge       WWW-Authenticate, taken apart
    token           Bearer tokens: the request, the answer
    hosts           which hosts serve a registry's images: mirrors, TLS, plain http (hosts.toml)
    messages        requests, responses and the steps of a conversation, as values
    exchange        the distribution protocol as a conversation: steps out, replies in
    resolve         from a reference to config and layers, in the same manner
    transport       http.client and ssl
    client          conversations held over a transport

All but the last two are pure; `hosts` and `credentials` also read their files.
"""

"""The Content-Security-Policies of all responses: nothing from another host, no inline script, no framing."""


def build_policy(*allowed: str, form_action: str = "'none'") -> str:
    """Return the policy that forbids everything but these directives."""
    last = ("frame-ancestors 'none'", "base-uri 'none'", f"form-action {form_action}")
    return "; ".join(("default-src 'none'", *allowed, *last))


OWN_FILES = ("script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'", "connect-src 'self'")
DATA_POLICY = build_policy()  # of what is no page
ADMIN_POLICY = build_policy(*OWN_FILES, form_action="'self'")
DOCS_POLICY = build_policy(*OWN_FILES, "worker-src 'self' blob:")
REDOC_POLICY = DOCS_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")  # It writes its own styles.

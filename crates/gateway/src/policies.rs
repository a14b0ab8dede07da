//! Security headers of the origins that we write the pages of. Previews are the guest's own.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::origins::Origins;

/// The dashboard: scripts of our own, nothing else.
pub fn main(headers: &mut HeaderMap, _origins: &Origins) {
    apply(
        headers,
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
            .into(),
    );
}

/// The editor: its workers come from our own files or from blobs that load them, its styles are written by
/// scripts, and its views with extensions' output are frames of the webview origin.
pub fn workbench(headers: &mut HeaderMap, origins: &Origins) {
    apply(
        headers,
        format!(
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob: data:; \
             style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; \
             media-src 'self' data: blob:; connect-src 'self' data: blob: {socket}; \
             frame-src 'self' blob: {webview}; manifest-src 'self'; form-action 'none'; base-uri 'none'; \
             frame-ancestors 'self'",
            socket = origins.workbench_socket(),
            webview = origins.webview(),
        ),
    );
}

/// Frames with extensions' output: only the workbench may show them.
pub fn webview(headers: &mut HeaderMap, origins: &Origins) {
    set(
        headers,
        header::CONTENT_SECURITY_POLICY,
        &format!(
            "frame-ancestors {} {}",
            origins.workbench(),
            origins.webview()
        ),
    );
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::REFERRER_POLICY, "no-referrer");
}

fn apply(headers: &mut HeaderMap, policy: String) {
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        set(headers, header::CONTENT_SECURITY_POLICY, &policy);
    }
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // Our own origin is told to ourselves, since a form's Origin header would be "null" otherwise.
    set(headers, header::REFERRER_POLICY, "same-origin");
    set(
        headers,
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    if !headers.contains_key("cross-origin-resource-policy") {
        set(
            headers,
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        );
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

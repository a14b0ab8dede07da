//! Cookies: reading ours, hiding ours from a guest, writing ours.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::origins::{Origins, Scheme};

/// Part of the name of every cookie of ours, whatever prefix a browser demands before it.
const OURS: &str = "roost_";
pub const WORKBENCH: &str = "roost_workbench";
pub const PREVIEW: &str = "roost_preview";
/// Copy of [`PREVIEW`] that is also sent when a sibling preview asks, for browsers that take it.
pub const PREVIEW_CROSS: &str = "roost_preview_cross";

/// All values of the cookie of this name, with or without a prefix. There may be several: a page of another
/// host below the same domain can plant one beside ours, and must not thereby shut the user out.
pub fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    pairs(headers).filter_map(move |(key, value)| (bare(key) == name).then_some(value))
}

/// Takes our cookies out of what a guest gets to see.
pub fn hide_ours(headers: &mut HeaderMap) {
    let others: Vec<String> = pairs(headers)
        .filter(|(key, _)| !bare(key).starts_with(OURS))
        .map(|(key, value)| {
            if key.is_empty() {
                value.into()
            } else {
                format!("{key}={value}")
            }
        })
        .collect();
    let any = headers.remove(header::COOKIE).is_some();
    if any
        && !others.is_empty()
        && let Ok(value) = HeaderValue::from_str(&others.join("; "))
    {
        headers.insert(header::COOKIE, value);
    }
}

/// Takes cookies with our names out of what a guest answers.
pub fn refuse_ours(headers: &mut HeaderMap) {
    let kept: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|value| {
            let text = value.as_bytes();
            let name = text.split(|byte| *byte == b'=').next().unwrap_or_default();
            !bare(String::from_utf8_lossy(name).trim()).starts_with(OURS)
        })
        .cloned()
        .collect();
    headers.remove(header::SET_COOKIE);
    for value in kept {
        headers.append(header::SET_COOKIE, value);
    }
}

/// The cookie of the workbench: for one workspace's paths only. `__Host-` would demand `Path=/` and send every
/// workspace's ticket with every request, so under HTTPS it is `__Secure-`; the ticket within is signed.
pub fn workbench(origins: &Origins, workspace: &str, ticket: &str, seconds: u64) -> HeaderValue {
    let (prefix, secure) = match origins.scheme {
        Scheme::Http => ("", ""),
        Scheme::Https => ("__Secure-", "; Secure"),
    };
    // Lax: the way in is a redirect from the main origin, which a Strict cookie would not survive.
    cookie(format!(
        "{prefix}{WORKBENCH}={ticket}; Path=/w/{workspace}/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    ))
}

/// The cookies of a preview's origin.
pub fn preview(origins: &Origins, name: &str, ticket: &str, seconds: u64) -> Vec<HeaderValue> {
    let mut cookies = Vec::new();
    let (prefix, secure) = match origins.scheme {
        Scheme::Http => ("", ""),
        Scheme::Https => ("__Host-", "; Secure"),
    };
    cookies.push(cookie(format!(
        "{prefix}{name}={ticket}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    )));
    if origins.is_localhost() && name == PREVIEW {
        // Every name below localhost is a site of its own. Browsers that hold localhost to be secure
        // take this one over plain HTTP; the others have the first.
        cookies.push(cookie(format!(
            "{prefix}{PREVIEW_CROSS}={ticket}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=None; Secure"
        )));
    }
    cookies
}

fn cookie(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).expect("tickets, names and numbers are ASCII")
}

fn bare(key: &str) -> &str {
    key.strip_prefix("__Host-")
        .or_else(|| key.strip_prefix("__Secure-"))
        .unwrap_or(key)
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .flat_map(|value| value.split(';'))
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or(("", pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in cookies {
            headers.append(header::COOKIE, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn all_values_of_a_name_are_found() {
        let headers = headers(&["roost_preview=planted; a=1", "__Host-roost_preview=real"]);
        assert_eq!(
            values(&headers, PREVIEW).collect::<Vec<_>>(),
            ["planted", "real"]
        );
        assert_eq!(values(&headers, WORKBENCH).count(), 0);
    }

    #[test]
    fn a_guest_sees_its_own_cookies_only() {
        let mut seen = headers(&[
            "a=1; roost_preview=t; b=x=y",
            "__Host-roost_preview=t; plain",
        ]);
        hide_ours(&mut seen);
        assert_eq!(seen[header::COOKIE], "a=1; b=x=y; plain");
        let mut none = headers(&["roost_preview=t; __Secure-roost_preview_cross=t"]);
        hide_ours(&mut none);
        assert!(none.get(header::COOKIE).is_none());
    }

    #[test]
    fn a_guest_sets_its_own_cookies_only() {
        let mut answer = HeaderMap::new();
        for value in [
            "a=1; Path=/",
            " roost_preview=x",
            "__Host-roost_session=y; Secure",
            "b=roost_",
        ] {
            answer.append(header::SET_COOKIE, HeaderValue::from_str(value).unwrap());
        }
        refuse_ours(&mut answer);
        let kept: Vec<_> = answer.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(kept, ["a=1; Path=/", "b=roost_"]);
    }
}

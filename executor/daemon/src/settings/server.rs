//! Which addresses of a scheduler are fit for credentials: https anywhere, plain http only to this host itself.

/// What is wrong with `server`, if anything.
///
/// # Errors
/// A few words that follow the address.
pub fn check_server(server: &str) -> Result<(), &'static str> {
    let Ok(url) = reqwest::Url::parse(server) else {
        return Err("is no address such as https://davit.example.com");
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("has more than a host and a port");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials: `davit executor register` keeps them in a file");
    }
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(()),
        ("http", Some(host)) if is_this_host(host) => Ok(()),
        ("http", Some(_)) => Err("would send credentials in clear: use https"),
        _ => Err("is neither https nor http"),
    }
}

fn is_this_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_go_over_tls_or_stay_on_this_host() {
        for fit in [
            "https://davit.example.com",
            "https://davit.example.com:8443/",
            "http://127.0.0.1:7070",
            "http://[::1]:7070",
            "http://localhost",
        ] {
            assert_eq!(check_server(fit), Ok(()), "{fit}");
        }
        for (unfit, part) in [
            ("http://davit.example.com", "clear"),
            ("http://127.0.0.1.example.com", "clear"),
            ("https://user:hush@davit.example.com", "credentials"),
            ("https://davit.example.com/api", "more than"),
            ("davit.example.com", "no address"),
            ("ftp://127.0.0.1", "neither"),
        ] {
            let problem = check_server(unfit).unwrap_err();
            assert!(problem.contains(part), "{unfit}: {problem}");
        }
    }
}

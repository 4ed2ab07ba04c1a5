use super::*;

#[test]
fn addresses_of_redis() {
    for (text, shown) in [
        ("redis://10.0.0.5", "redis://10.0.0.5:6379/0"),
        ("redis://cache.example:7000/3", "redis://cache.example:7000/3"),
        ("rediss://cache.example/15/", "rediss://cache.example:6379/15"),
        ("redis://[::1]:7000/1", "redis://[::1]:7000/1"),
        ("redis://me:s%2Fcret@cache/1", "redis://cache:6379/1"),
        ("redis+unix:///run/redis.sock?db=3", "redis+unix:///run/redis.sock?db=3"),
        ("redis+sentinel://a,b:7,c/main/3", "redis+sentinel://a:26379,b:7,c:26379/main/3"),
        ("rediss+sentinel://a/main", "rediss+sentinel://a:26379/main/0"),
    ] {
        let Parsed { server, database, is_tls, .. } = parse(text).unwrap();
        let prefix = "wpcr".to_string();
        let redis = Redis {
            server,
            database,
            is_tls,
            ca_file: None,
            user: None,
            password: None,
            prefix,
            wait_replicas: 0,
            accept: Vec::new(),
        };
        assert_eq!(redis.to_string(), shown);
    }
    let parsed = parse("redis://me:s%2Fcr%40t@cache/1").unwrap();
    assert_eq!((parsed.user.as_deref(), parsed.password.as_deref()), (Some("me"), Some("s/cr@t")));
    assert_eq!(parse("redis://:only@cache").unwrap().user, None);
    assert_eq!(parse("redis://only@cache").unwrap().password, None);
}

#[test]
fn the_database_of_an_object_cache_is_known_again() {
    let redis = |url: &str| {
        let Parsed { server, database, is_tls, user, .. } = parse(url).unwrap();
        let prefix = "wpcr".to_string();
        let (ca_file, password, accept) = (None, None, Vec::new());
        Redis { server, database, is_tls, ca_file, user, password, prefix, wait_replicas: 0, accept }
    };
    for (own, reported, is_same) in [
        ("redis://127.0.0.1/3", "tcp://127.0.0.1:6379/3", true),
        ("redis://127.0.0.1/3", "tcp://localhost:6379/3", true),
        ("redis://127.0.0.1/3", "tcp://127.0.0.1:6379/0", false),
        ("redis://127.0.0.1:7000/3", "tcp://127.0.0.1:6379/3", false),
        ("rediss://cache.example/3", "tls://CACHE.example:6379/3", true),
        ("redis://10.0.0.5/3", "tcp://127.0.0.1:6379/3", false),
        ("redis+unix:///run/r.sock?db=1", "unix:/run/r.sock/1", true),
        ("redis+unix:///run/r.sock?db=1", "unix:/run/other.sock/1", false),
        ("redis+unix:///run/r.sock", "tcp://127.0.0.1:6379/0", true),
        ("redis+unix:///run/r.sock", "tcp://10.0.0.5:6379/0", false),
        ("redis://127.0.0.1/3", "nonsense", false),
    ] {
        assert_eq!(redis(own).is_database(reported, 6379), is_same, "{own} {reported}");
    }
}

#[test]
fn what_is_no_address_of_redis() {
    for text in [
        "",
        "10.0.0.5:6379",
        "http://10.0.0.5",
        "redis://",
        "redis:///3",
        "redis://a,b/3",
        "redis://a:0/3",
        "redis://a:70000",
        "redis://a:/x",
        "redis://a/three",
        "redis://a/-1",
        "redis://a/1/2",
        "redis://a/3?db=4",
        "redis://a/3#insecure",
        "redis://a b",
        "redis://[::1/3",
        "redis://[::1]x/3",
        "redis://u:%zz@a",
        "redis://u:%e9@a",
        "redis+unix://",
        "redis+unix://host/run/redis.sock",
        "redis+unix:///run/redis.sock?pass=x",
        "redis+sentinel://a",
        "redis+sentinel://a/3",
        "redis+sentinel://,/main",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

//! A persistent object cache that all requests share, and what it may still hold of the past.

use serde_json::json;

use crate::support::redis::Redis;
use crate::support::wordpress::unix_now;
use crate::support::{Plan, Runner, Site, secs, wait_for};

/// The cache holds an `alloptions` of before the events ran; a page schedules on top of it.
#[test]
fn stale_options_bring_nothing_back_and_lose_nothing() {
    let site = Site::builder().mariadb().start();
    let redis = Redis::start();
    site.cache_in(&redis);
    let runner = Runner::builder(&site).site_line("rescan = \"2s\"").start();
    let mut plan = Plan::new();
    let at = unix_now() + 6;
    plan.schedule(&site, &(0..5).map(|i| (at, "fx_ok", json!(["once", i]))).collect::<Vec<_>>());
    site.get("/");
    let stale = redis.ask(&["COPY", "1:options:alloptions", "stale"]);
    assert_eq!(stale, "1", "the options are in the cache: {}", redis.ask(&["KEYS", "*"]));
    assert!(plan.wait(&site, secs(20)), "{}", runner.log());
    plan.expect(&[("fx_nobody", json!(["beside"])), ("fx_nobody", json!(["on top"]))]);
    assert_eq!(
        site.php("echo json_encode(wp_schedule_single_event(time() + 9000, 'fx_nobody', ['beside'], true));"),
        "true"
    );

    // Whoever writes an option meanwhile renews the cache; then once more.
    wait_for("a page that sees what had run as if it were to come", secs(20), || {
        redis.ask(&["COPY", "stale", "1:options:alloptions", "REPLACE"]);
        let told = site.php_json(
            "$known = count(array_filter(_get_cron_array(), function ($hooks) { return isset($hooks['fx_ok']); }));
             echo json_encode([$known, $known > 0 ? wp_schedule_single_event(time() + 9000, 'fx_nobody', ['on top'], true) : null]);",
        );
        (told == json!([1, true])).then_some(())
    });
    site.schedule_in(1, "fx_output", &json!([]));
    wait_for("another run", secs(15), || runner.history_of("fx_output").first().cloned());
    let figure = plan.judge(&site);
    assert_eq!(figure.wrong(), 0, "{figure}");
    assert_eq!(site.scheduled("fx_nobody").len(), 2, "and the cache forgets its old copy");
}

/// The cache says that there is no such option: core would write its own few events over all others.
#[test]
fn an_option_that_the_cache_denies_is_added_to_and_not_overwritten() {
    for site in [Site::builder().mariadb().start(), Site::builder().sqlite().start()] {
        let redis = Redis::start();
        site.cache_in(&redis);
        let _runner = Runner::builder(&site).start();
        site.schedule_in(9000, "fx_ok", &json!(["before"]));
        let before = site.cron_array_json().as_object().map(serde_json::Map::len);
        let told = site.php_json(
            "$all = wp_load_alloptions(); unset($all['cron']); wp_cache_set('alloptions', $all, 'options');
             wp_cache_delete('cron', 'options'); wp_cache_set('notoptions', ['cron' => true], 'options');
             echo json_encode([count(_get_cron_array()), wp_schedule_single_event(time() + 8000, 'fx_nobody', [], true)]);",
        );
        assert_eq!(told, json!([0, true]));
        redis.ask(&["FLUSHALL"]);
        assert_eq!((site.scheduled("fx_ok").len(), site.scheduled("fx_nobody").len()), (1, 1));
        assert_eq!(site.cron_array_json().as_object().map(serde_json::Map::len), before.map(|count| count + 1));
    }
}

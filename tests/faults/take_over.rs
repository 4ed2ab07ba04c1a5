//! The first take-over of a site, beside pages and a wp-cron.php that began before it and know of no claim.

use std::time::Duration;

use serde_json::json;

use super::{Random, nothing_wrong, times};
use crate::support::wordpress::unix_now;
use crate::support::{Figure, Runner, Site, secs, wait_for};

#[test]
fn row_take_over_beside_cores_own_cron() {
    let mut random = Random::new();
    let mut figure = Figure::default();
    let rounds = times(4, 20);
    for round in 0..rounds {
        let site = match round % 2 {
            0 => Site::builder().mariadb().start(),
            _ => Site::builder().sqlite().start(),
        };
        let mut runner = Runner::builder(&site).prepare();
        let due: Vec<_> = (0..8).map(|i| (unix_now() - 5, "fx_ok", json!(["due", i]))).collect();
        std::thread::scope(|scope| {
            let runner = &mut runner;
            scope.spawn(move || runner.start());
            std::thread::sleep(Duration::from_millis(random.below(250)));
            scope.spawn(|| site.schedule(&due));
            scope.spawn(|| site.get("/wp-cron.php"));
        });
        wait_for("all eight", secs(20), || (site.ledger().ends("fx_ok").len() >= 8).then_some(()));
        // Whoever takes a turn after this finds nothing.
        site.schedule_in(1, "fx_output", &json!([]));
        wait_for("one more run", secs(15), || runner.history_of("fx_output").first().cloned());
        let begins = site.ledger().begins("fx_ok").len();
        figure = figure.plus(Figure { of: 8, doubled: begins.saturating_sub(8), ..Figure::default() });
    }
    nothing_wrong("first take-over", &figure, &format!("{rounds} take-overs, seed {}", random.seed));
}

//! The minute comes: the one thing that has to be waited for.

use serde_json::json;

use super::{job, runs_of};
use crate::support::{Runner, Site, secs, wait_for};

#[test]
fn a_minute_comes_once_for_every_job_of_it() {
    let site = Site::builder().sqlite().start();
    let each = |name: &str, lines: &str| format!("[[job]]\nname = \"{name}\"\nschedule = \"* * * * *\"\n{lines}\n");
    let zone = "schedule = \"0 4 * * *\"\ntimezone = \"Pacific/Kiritimati\"";
    let runner = Runner::builder(&site)
        .runner_line("max_parallel = 2")
        .table(&each("one", "command = [\"true\"]"))
        .table(&each("two", "command = [\"true\"]"))
        .table(&each("three", "command = [\"true\"]"))
        .table(&each("spread", "command = [\"true\"]\njitter = \"20s\""))
        .table(&format!("[[job]]\nname = \"far\"\n{zone}\ncommand = [\"true\"]\n"))
        .start();
    let far = job(&runner, "far");
    assert_eq!((&far["timezone"], &far["schedule"]), (&json!("Pacific/Kiritimati"), &json!("0 4 * * *")));
    assert!(far["next"].as_str().is_some_and(|next| next.contains("T14:00:00")), "04:00 in UTC+14: {far}");
    let offset = |name: &str| {
        let next: jiff::Timestamp = job(&runner, name)["next"].as_str().expect("next").parse().expect("a time");
        next.as_second().rem_euclid(60)
    };
    assert_eq!((offset("one"), offset("two"), offset("three")), (0, 0, 0));
    let spread = offset("spread");
    assert!(spread < 20, "{spread}");

    for name in ["one", "two", "three", "spread"] {
        let run = wait_for("its minute", secs(90), || runs_of(&runner, name).pop());
        assert_eq!((&run["outcome"], &run["schedule"]), (&json!("ok"), &json!("* * * * *")), "{run}");
        let due: jiff::Timestamp = run["due"].as_str().expect("due").parse().expect("a time");
        assert_eq!(due.as_second().rem_euclid(60), if name == "spread" { spread } else { 0 });
        assert!(run["lateness_ms"].as_i64().is_some_and(|late| late >= 0), "never early: {run}");
    }
    let minutes = |name: &str| runs_of(&runner, name).iter().map(|run| run["due"].clone()).collect::<Vec<_>>();
    for name in ["one", "two", "three"] {
        let mut due = minutes(name);
        let runs = due.len();
        due.dedup();
        assert_eq!(due.len(), runs, "{name}: each minute once");
    }
}

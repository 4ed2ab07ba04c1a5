//! Whatever stands in a crontab, what is made of it is sound.

use super::*;
use crate::fuzz::{self, Random};

/// What a [[job]] may hold.
fn assert_job(job: &toml::Table, text: &str) {
    let known =
        ["name", "schedule", "timezone", "site", "wp", "command", "url", "timeout", "user", "environment", "directory"];
    assert!(job.keys().all(|key| known.contains(&key.as_str())), "{text}");
    let count = ["wp", "command", "url"].iter().filter(|key| job.contains_key(**key)).count();
    assert_eq!(count, 1, "{text}");
    assert_ne!(job.get("user").and_then(toml::Value::as_str), Some("root"), "{text}");
    crate::schedule::Schedule::parse(job["schedule"].as_str().unwrap(), jiff::tz::TimeZone::UTC).unwrap();
    let words = ["wp", "command"].iter().filter_map(|key| job.get(*key)?.as_array()).flatten();
    let is_word = |word: &str| !word.is_empty() && !word.contains(char::is_control);
    assert!(words.clone().all(|word| is_word(word.as_str().unwrap())), "{text}");
}

/// Names are valid and nobody has another's; sites are what the configuration takes; nothing obeys a terminal.
fn assert_sound(plan: &Plan, is_asked: bool) {
    let toml = plan.toml();
    let report = report(Path::new("/c.toml"), plan, "www-data", &[], None);
    assert!(!report.contains(|c: char| c.is_control() && c != '\n') && !report.contains('\u{202e}'), "{report:?}");
    assert!(report.parse::<toml::Table>().is_ok(), "{report}");
    let table: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let tables = |key: &str| table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let (sites, jobs) = (tables("site"), tables("job"));
    assert_eq!((sites.len(), jobs.len()), (plan.sites.len(), plan.jobs.len()), "{toml}");
    let mut names: Vec<&str> = sites.iter().chain(&jobs).map(|table| table["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    assert!(names.len() == count && names.iter().all(|name| name.len() <= 64 && name.chars().all(is_plain)), "{toml}");
    jobs.iter().for_each(|job| assert_job(job.as_table().unwrap(), &toml));
    // Each has been asked about alone.
    if names.len() > 1 && is_asked {
        write::accepts(&toml).unwrap_or_else(|why| panic!("{why}\n{toml}"));
    }
}

const SEEDS: &[&str] = &[
    "*/5 * * * * www-data cd /var/www/shop && wp cron event run --due-now >/dev/null 2>&1\n",
    "* * * * * daemon curl -sS -o /dev/null \"https://shop.example/wp-cron.php?doing_wp_cron\"\n",
    "PATH=/usr/bin:/bin\nMAILTO=\"a b\"\nCRON_TZ=Europe/Berlin\n15 3 * * 1-5 daemon /bin/backup --to 'x y' | mail -s \"$(date +\\%F)\" ops\n",
    "@daily daemon cat%it's%100\\% of \\\\ them\n@reboot daemon ~/start ${X} $((1+1)) `date`\n",
    "0 4 * * * www-data flock -n /tmp/l sudo -u daemon nice -n 5 wp --path=/var/www/shop shop export --all; echo ok\n",
    "1,2-9/3 * 1 jan sun daemon su - www-data -s /bin/sh -c \"cd /var/www/a; php -q wp-cron.php\"\n",
    "* * * * * daemon wget -qO- https://a.example/x.php?a=1&b=2 # ping\n",
];

#[test]
fn no_crontab_makes_it_fall_over() {
    let words = [
        "'", "\"", "$(", "${", "`", "\\", "%", "\\%", "|", "&&", ";", "~", "=", "\t", "\u{202e}", "\u{85}", "ö", "-c",
        "--path=", "{}", "#", "<<", "2>&1",
    ];
    fuzz::each(10_000, |random: &mut Random| {
        let mut text = String::new();
        for _ in 0..random.within(1, 3) {
            text += *random.pick::<&str>(SEEDS);
        }
        for _ in 0..random.within(0, 4) {
            let at =
                (0..=text.len()).rev().find(|at| text.is_char_boundary(*at) && *at <= random.below(text.len() + 1));
            text.insert_str(at.unwrap_or(0), random.pick::<&str>(&words));
        }
        let mut bytes = text.into_bytes();
        random.damage(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // The configuration asks the machine for each user, which takes a while.
        let is_asked = random.one_in(64);
        let accepts: &dyn Fn(&str) -> Result<(), String> = if is_asked { &write::accepts } else { &|_| Ok(()) };
        let plan = planned_with(random.one_in(2).then_some("daemon"), &text, &Present::default(), accepts);
        assert_sound(&plan, is_asked);
        assert!(plan.remove.len() + plan.left.len() <= text.split('\n').count());
    });
}

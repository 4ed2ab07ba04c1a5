//! Jobs and alerts that cannot be.

use super::configuration::{Place, SITE};

/// What comes on line 8 and below; then place, what was found, and what was expected.
const TABLES: [(&str, &str, &str, &str); 25] = [
    (
        "[[job]]\nschedule = \"@daily\"\ncommand = [\"true\"]",
        "8:1",
        "`name` is missing from [[job]]",
        "1 to 64 of the characters",
    ),
    (
        "[[job]]\nname = \"a b\"\nschedule = \"@daily\"\ncommand = [\"true\"]",
        "9:8",
        "`name` is \"a b\"",
        "1 to 64 of the characters",
    ),
    (
        "[[job]]\nname = \"shop\"\nschedule = \"@daily\"\ncommand = [\"true\"]",
        "8:1",
        "a site and a job have the name `shop`",
        "a name of its own for each",
    ),
    (
        "[[job]]\nname = \"a\"\ncommand = [\"true\"]",
        "8:1",
        "`schedule` is missing from [[job]]",
        "a crontab expression such as",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"due\"\ncommand = [\"true\"]",
        "10:12",
        "`schedule` is \"due\"",
        "five fields",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"0 25 * * *\"\ncommand = [\"true\"]",
        "10:12",
        "the field hour is \"25\"",
        "0 to 23",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"0 0 31 2 *\"\ncommand = [\"true\"]",
        "10:12",
        "the field day of month is \"31\"",
        "so this never comes",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ntimezone = \"Europe/Berln\"\ncommand = [\"true\"]",
        "11:12",
        "`timezone` is \"Europe/Berln\"",
        "Europe/Berlin, ",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"",
        "8:1",
        "nothing says what this [[job]] does",
        "one of `wp`, `command` and `url`",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = [\"true\"]\nurl = \"https://x.example\"",
        "8:1",
        "`command` and `url` are both there",
        "one of `wp`, `command` and `url`",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = \"true\"",
        "11:11",
        "`command` is the text \"true\"",
        "a program and its arguments",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = []",
        "11:11",
        "`command` is of type array",
        "a program and its arguments",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\nwp = [\"cli\", \"info\"]",
        "8:1",
        "`site` is missing from [[job]]",
        "the `name` of the [[site]]",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\nsite = \"shpo\"\nwp = [\"cli\", \"info\"]",
        "11:8",
        "`site` is \"shpo\"",
        "did you mean `shop`?",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\nurl = \"file:///etc/passwd\"",
        "11:7",
        "`url` is \"file:///etc/passwd\"",
        "https:// or http://",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\nurl = \"http://169.254.169.254/\"",
        "11:7",
        "`url` is",
        "no link-local address",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = [\"true\"]\noverlap = \"kill\"",
        "12:11",
        "`overlap` is \"kill\"",
        "\"skip\" or \"queue\"",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = [\"true\"]\nmissed = \"all\"",
        "12:10",
        "`missed` is \"all\"",
        "\"skip\" or \"once\"",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = [\"true\"]\nuser = \"root\"",
        "12:8",
        "`user` is \"root\"",
        "and not root's",
    ),
    (
        "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = [\"true\"]\nenvironment = { \"A B\" = \"1\" }",
        "12:15",
        "`environment` is a table with \"A B\"",
        "as a shell has them",
    ),
    (
        "[[alert]]\non = [\"failed\"]",
        "8:1",
        "nobody is named whom this [[alert]] is for",
        "one of `webhook`, `command` and `ping`",
    ),
    ("[[alert]]\non = [\"fialed\"]\ncommand = [\"x\"]", "9:6", "`on` is a list with \"fialed\"", "\"interrupted\""),
    (
        "[[alert]]\nwebhook = \"open-sesame\"",
        "9:11",
        "`webhook` is no address that can be used",
        "such as \"https://hooks.example/...\"",
    ),
    (
        "[[alert]]\nping = \"https://hc.example/1\"\non = [\"late\"]",
        "10:6",
        "`on` means nothing to a `ping`",
        "it with `webhook` or `command`",
    ),
    (
        "[[alert]]\ncommand = [\"x\"]\nhook = \"a\"\njob = \"b\"",
        "11:7",
        "`job` and `hook` are both there",
        "one of them in each [[alert]]",
    ),
];

#[test]
fn jobs_and_alerts_are_refused_at_their_place() {
    let place = Place::new();
    for (text, at, found, expected) in TABLES {
        place.write("config.toml", format!("{SITE}{text}\n"), 0o640);
        place.refuses(text, at, found, expected);
    }
    // No site is needed where there is a job.
    place.write("config.toml", "[[job]]\nname = \"a\"\nschedule = \"@daily\"\ncommand = [\"true\"]\n", 0o640);
    let fine = place.cli(&["check"]);
    assert!(fine.code() == 0 && fine.stdout.contains("0 sites, 1 job"), "{fine:?}");
}

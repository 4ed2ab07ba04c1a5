//! The proof that the checker can see: with a guard taken away, the figure is above 0.

use super::{show, writers};
use crate::support::{Figure, Guard, Site};

#[track_caller]
fn seen(guard: &str, figure: &Figure) {
    show(&format!("BREAK={guard}"), figure, &"must be above 0");
    assert!(figure.wrong() > 0, "without {guard} the checker sees nothing: {figure}");
}

#[test]
fn without_merge() {
    let site = Site::builder().mariadb().start();
    seen("merge", &writers::writers_beside_a_runner(&site, Some(Guard::Merge), 25));
}

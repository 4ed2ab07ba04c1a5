//! Crontab expressions with a time zone.

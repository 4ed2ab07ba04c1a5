//! One metric after the other, in the form that the crate wants.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::runs::Histogram;

pub const PREFIX: &str = "wp_cron_runner_";

/// Names and values. Where there are none the sample has no labels.
pub type Labels<'a> = Vec<(&'static str, &'a str)>;

pub struct Families<'a>(pub DescriptorEncoder<'a>);

impl Families<'_> {
    pub fn gauge<'l, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let (name, unit) = named(name);
        let mut metric = self.0.encode_descriptor(&name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => metric.encode_gauge(&value)?,
                false => metric.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    /// `name` without `_total`.
    pub fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let (name, unit) = named(name);
        let mut metric = self.0.encode_descriptor(&name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
                false => metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
            }
        }
        Ok(())
    }

    pub fn cpu_seconds(&mut self, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    pub fn info(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> fmt::Result {
        let (name, unit) = named(name);
        self.0.encode_descriptor(&name, help, unit.as_ref(), MetricType::Info)?.encode_info(labels)
    }

    pub fn histogram<'l>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[f64; 7],
        samples: impl IntoIterator<Item = (Labels<'l>, &'l Histogram)>,
    ) -> fmt::Result {
        let (name, unit) = named(name);
        let mut metric = self.0.encode_descriptor(&name, help, unit.as_ref(), MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts).collect();
            let count = histogram.counts.iter().sum();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(histogram.sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// The whole name but for its unit, which the encoder puts behind it again. `process_...` is everybody's.
fn named(name: &str) -> (String, Option<Unit>) {
    let prefix = if name.starts_with("process_") { "" } else { PREFIX };
    for (end, unit) in [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)] {
        if let Some(name) = name.strip_suffix(end) {
            return (format!("{prefix}{name}"), Some(unit));
        }
    }
    (format!("{prefix}{name}"), None)
}

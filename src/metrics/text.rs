//! OpenMetrics 1.0 as text; the crate underneath writes the format 0.0.4 only.

use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use std::fmt::Write;

/// All families, and the mark of the end.
pub(super) fn open_metrics(families: &[MetricFamily]) -> String {
    let mut text = String::with_capacity(4096);
    for family in families {
        write(family, &mut text);
    }
    text.push_str("# EOF\n");
    text
}

/// Writing into a string does not fail.
fn write(family: &MetricFamily, text: &mut String) {
    let (kind, name) = match family.get_field_type() {
        // A family of counters is named without the end which its samples have.
        MetricType::COUNTER => ("counter", family.name().strip_suffix("_total").unwrap_or(family.name())),
        MetricType::GAUGE => ("gauge", family.name()),
        MetricType::HISTOGRAM => ("histogram", family.name()),
        MetricType::SUMMARY => ("summary", family.name()),
        MetricType::UNTYPED => ("unknown", family.name()),
    };
    let _ = writeln!(text, "# TYPE {name} {kind}\n# HELP {name} {}", escaped(family.help()));
    for metric in family.get_metric() {
        let labels = metric.get_label();
        let mut sample = |end: &str, more: Option<(&str, String)>, value: f64| {
            let _ = write!(text, "{name}{end}");
            write_labels(labels, more, text);
            let _ = writeln!(text, " {}", number(value));
        };
        match family.get_field_type() {
            MetricType::COUNTER => sample("_total", None, metric.get_counter().get_value()),
            MetricType::GAUGE => sample("", None, metric.get_gauge().get_value()),
            MetricType::UNTYPED => {}
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let mut has_all = false;
                for bucket in histogram.get_bucket() {
                    has_all |= bucket.upper_bound() == f64::INFINITY;
                    sample("_bucket", Some(("le", number(bucket.upper_bound()))), bucket.cumulative_count() as f64);
                }
                let count = histogram.get_sample_count() as f64;
                if !has_all {
                    sample("_bucket", Some(("le", "+Inf".to_owned())), count);
                }
                sample("_count", None, count);
                sample("_sum", None, histogram.get_sample_sum());
            }
            MetricType::SUMMARY => {
                let summary = metric.get_summary();
                for quantile in summary.get_quantile() {
                    sample("", Some(("quantile", number(quantile.quantile()))), quantile.value());
                }
                sample("_count", None, summary.sample_count() as f64);
                sample("_sum", None, summary.sample_sum());
            }
        }
    }
}

fn write_labels(labels: &[LabelPair], more: Option<(&str, String)>, text: &mut String) {
    let own = labels.iter().map(|label| (label.name(), escaped(label.value())));
    let mut between = '{';
    for (name, value) in own.chain(more) {
        let _ = write!(text, "{between}{name}=\"{value}\"");
        between = ',';
    }
    if between == ',' {
        text.push('}');
    }
}

/// Bounds are told apart by how they are written: `1.0`, and never `1`.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value:?}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{GaugeVec, Histogram, HistogramOpts, IntCounter, Opts, Registry};

    #[test]
    fn it_is_written_as_the_specification_has_it() {
        let registry = Registry::new();
        let done = IntCounter::new("done_total", "What was \"done\".").unwrap();
        let named = IntCounter::new("named", "Without its end.").unwrap();
        let heat = GaugeVec::new(Opts::new("heat", "Two\nlines, and a \\."), &["place"]).unwrap();
        let bounds = HistogramOpts::new("took_seconds", "How long.").buckets(vec![0.005, 1.0]);
        let took = Histogram::with_opts(bounds).unwrap();
        registry.register(Box::new(done.clone())).unwrap();
        registry.register(Box::new(named.clone())).unwrap();
        registry.register(Box::new(heat.clone())).unwrap();
        registry.register(Box::new(took.clone())).unwrap();
        done.inc_by(3);
        heat.with_label_values(&["a \"b\" \\\n"]).set(-0.5);
        took.observe(0.5);
        took.observe(2.0);
        let expected = r##"# TYPE done counter
# HELP done What was \"done\".
done_total 3.0
# TYPE heat gauge
# HELP heat Two\nlines, and a \\.
heat{place="a \"b\" \\\n"} -0.5
# TYPE named counter
# HELP named Without its end.
named_total 0.0
# TYPE took_seconds histogram
# HELP took_seconds How long.
took_seconds_bucket{le="0.005"} 0.0
took_seconds_bucket{le="1.0"} 1.0
took_seconds_bucket{le="+Inf"} 2.0
took_seconds_count 2.0
took_seconds_sum 2.5
# EOF
"##;
        assert_eq!(open_metrics(&registry.gather()), expected);
    }
}

//! Purlin's own numbers, read when they are asked for.

use crate::pool::Pools;
use crate::site::Site;
use crate::{Error, Result};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};
use std::sync::Weak;
use std::time::{SystemTime, UNIX_EPOCH};

/// Those of a site, as long as that is there, and of its process.
pub(super) struct Own {
    site: Weak<Site>,
    gauges: Vec<(Of, IntGaugeVec)>,
    counters: Vec<(Of, IntCounterVec)>,
    started: IntGauge,
    memory: IntGauge,
    files: IntGauge,
}

/// What a number is of.
#[derive(Clone, Copy)]
enum Of {
    Pool(fn(&crate::pool::Metrics) -> u64),
    #[cfg(feature = "cache")]
    Cache(fn(&crate::cache::Metrics) -> u64),
    #[cfg(feature = "cache")]
    Pages(fn(&crate::pages::Metrics) -> u64),
}

impl Of {
    fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Pool(_) => &["pool"],
            #[cfg(feature = "cache")]
            Self::Cache(_) => &["region"],
            #[cfg(feature = "cache")]
            Self::Pages(_) => &[],
        }
    }

    /// Of each that the site has, by its name if it has one.
    fn read(self, site: &Site, mut found: impl FnMut(&[&str], u64)) {
        match self {
            Self::Pool(number) => {
                for pool in site.shared::<Pools>().map(|pools| pools.all()).unwrap_or_default() {
                    found(&[pool.name()], number(&pool.metrics()));
                }
            }
            #[cfg(feature = "cache")]
            Self::Cache(number) => {
                for cache in site.shared::<crate::cache::Caches>().iter().flat_map(|caches| caches.all()) {
                    found(&[cache.name()], number(&cache.metrics()));
                }
            }
            // Of several layers the sum: what they have in memory is one process'.
            #[cfg(feature = "cache")]
            Self::Pages(number) => {
                if let Some(all) = site.shared::<crate::pages::AllPages>() {
                    found(&[], all.all().map(|pages| number(&pages.metrics())).sum());
                }
            }
        }
    }
}

impl Own {
    pub(super) fn new(site: Weak<Site>) -> Result<Self> {
        type Row = (&'static str, &'static str, Of);
        #[allow(unused_mut, reason = "by feature")]
        let mut gauges: Vec<Row> = vec![
            ("purlin_pool_threads", "Threads of a pool.", Of::Pool(|pool| pool.threads as u64)),
            ("purlin_pool_busy_threads", "Those that work.", Of::Pool(|pool| pool.busy as u64)),
            ("purlin_pool_queued_requests", "Requests that wait for a thread.", Of::Pool(|pool| pool.queued as u64)),
        ];
        #[allow(unused_mut, reason = "by feature")]
        let mut counters: Vec<Row> = vec![
            ("purlin_pool_done_total", "What the threads of a pool have done.", Of::Pool(|pool| pool.done)),
            ("purlin_pool_refused_total", "What they had no time for.", Of::Pool(|pool| pool.refused)),
        ];
        #[cfg(feature = "cache")]
        {
            gauges.extend([
                ("purlin_cache_entries", "Values in memory.", Of::Cache(|cache| cache.entries as u64)),
                ("purlin_cache_bytes", "What they weigh.", Of::Cache(|cache| cache.bytes)),
                ("purlin_cache_max_bytes", "What they may weigh.", Of::Cache(|cache| cache.max_bytes)),
                ("purlin_page_cache_entries", "URLs in memory.", Of::Pages(|pages| pages.entries as u64)),
                ("purlin_page_cache_bytes", "What they weigh.", Of::Pages(|pages| pages.bytes)),
                ("purlin_page_cache_max_bytes", "What they may weigh.", Of::Pages(|pages| pages.max_bytes)),
            ]);
            counters.extend([
                ("purlin_cache_hits_total", "Look-ups answered from memory.", Of::Cache(|cache| cache.hits)),
                ("purlin_cache_stale_hits_total", "Those answered with a stale value.", Of::Cache(|cache| cache.stale)),
                ("purlin_cache_remote_hits_total", "Those answered from Redis.", Of::Cache(|cache| cache.remote_hits)),
                ("purlin_cache_misses_total", "Those that called their loader.", Of::Cache(|cache| cache.misses)),
                ("purlin_cache_waited_total", "Those that waited for another's.", Of::Cache(|cache| cache.waited)),
                (
                    "purlin_cache_refreshes_total",
                    "Values made anew beside the requests.",
                    Of::Cache(|cache| cache.refreshes),
                ),
                ("purlin_cache_failures_total", "Loaders that failed.", Of::Cache(|cache| cache.failures)),
                ("purlin_cache_stores_total", "Values kept in memory.", Of::Cache(|cache| cache.stores)),
                (
                    "purlin_cache_too_large_total",
                    "Values too large to be kept there.",
                    Of::Cache(|cache| cache.too_large),
                ),
                ("purlin_cache_evictions_total", "Values pushed out of it.", Of::Cache(|cache| cache.evictions)),
                ("purlin_cache_purges_total", "Calls that purged something.", Of::Cache(|cache| cache.purges)),
                (
                    "purlin_cache_remote_failures_total",
                    "What Redis did not answer.",
                    Of::Cache(|cache| cache.remote_failures),
                ),
                (
                    "purlin_page_cache_hits_total",
                    "Requests answered with a fresh stored page.",
                    Of::Pages(|pages| pages.hits),
                ),
                (
                    "purlin_page_cache_stale_hits_total",
                    "Requests answered with a stale one.",
                    Of::Pages(|pages| pages.stale),
                ),
                (
                    "purlin_page_cache_collapsed_total",
                    "Requests answered with what another got.",
                    Of::Pages(|pages| pages.collapsed),
                ),
                (
                    "purlin_page_cache_misses_total",
                    "Requests passed on, nothing being stored.",
                    Of::Pages(|pages| pages.misses),
                ),
                (
                    "purlin_page_cache_revalidations_total",
                    "Requests passed on to ask for what is stored.",
                    Of::Pages(|pages| pages.revalidations),
                ),
                (
                    "purlin_page_cache_refreshes_total",
                    "Pages made anew beside the requests.",
                    Of::Pages(|pages| pages.refreshes),
                ),
                (
                    "purlin_page_cache_passed_total",
                    "Requests that went past the store.",
                    Of::Pages(|pages| pages.passed),
                ),
                ("purlin_page_cache_stores_total", "Pages that were stored.", Of::Pages(|pages| pages.stores)),
                ("purlin_page_cache_evictions_total", "URLs pushed out of memory.", Of::Pages(|pages| pages.evictions)),
                ("purlin_page_cache_purges_total", "Calls that purged something.", Of::Pages(|pages| pages.purges)),
                (
                    "purlin_page_cache_remote_failures_total",
                    "What Redis did not answer.",
                    Of::Pages(|pages| pages.remote_failures),
                ),
            ]);
        }
        let gauge = |(name, help, of): Row| {
            Ok((of, IntGaugeVec::new(Opts::new(name, help), of.labels()).map_err(Error::from)?))
        };
        let counter = |(name, help, of): Row| {
            Ok((of, IntCounterVec::new(Opts::new(name, help), of.labels()).map_err(Error::from)?))
        };
        let of_process = |name, help| IntGauge::new(name, help).map_err(Error::from);
        let started = of_process("process_start_time_seconds", "When the process began to count, since 1970.")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        Ok(Self {
            site,
            gauges: gauges.into_iter().map(gauge).collect::<Result<_>>()?,
            counters: counters.into_iter().map(counter).collect::<Result<_>>()?,
            started,
            memory: of_process("process_resident_memory_bytes", "What the process has in memory.")?,
            files: of_process("process_open_fds", "Its open files and sockets.")?,
        })
    }
}

impl Collector for Own {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges.iter().flat_map(|(_, gauge)| gauge.desc());
        let counters = self.counters.iter().flat_map(|(_, counter)| counter.desc());
        let process = [&self.started, &self.memory, &self.files].into_iter().flat_map(|gauge| gauge.desc());
        gauges.chain(counters).chain(process).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.started.collect();
        if let Some(bytes) = resident() {
            self.memory.set(bytes);
            families.extend(self.memory.collect());
        }
        if let Some(files) = open_files() {
            self.files.set(files);
            families.extend(self.files.collect());
        }
        let Some(site) = self.site.upgrade() else { return families };
        for (of, gauge) in &self.gauges {
            of.read(&site, |labels, number| gauge.with_label_values(labels).set(number.try_into().unwrap_or(i64::MAX)));
            families.extend(gauge.collect());
        }
        for (of, counter) in &self.counters {
            of.read(&site, |labels, number| {
                let counter = counter.with_label_values(labels);
                // Two who ask at once may both add: less than nothing is never added.
                counter.inc_by(number.saturating_sub(counter.get()));
            });
            families.extend(counter.collect());
        }
        families
    }
}

/// `VmRSS` of Linux.
fn resident() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn open_files() -> Option<i64> {
    // The folder itself is one of them while it is read.
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    i64::try_from(files.saturating_sub(1)).ok()
}

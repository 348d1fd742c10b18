//! A criterion measurement in time of the GPU: events on the stream before and after, so that what the host does beside
//! them is not in the figure.

use bench_engine::backend::cuda::{Device, Event};
use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Nanoseconds between two events of `device`'s stream.
pub(crate) struct GpuTime<'a> {
    pub(crate) device: &'a Device,
}

impl Measurement for GpuTime<'_> {
    type Intermediate = Event;
    /// Nanoseconds: criterion's own formatter of wall time takes them for such.
    type Value = f64;

    fn start(&self) -> Event {
        self.device.record().expect("a stream that runs kernels takes events")
    }

    fn end(&self, start: Event) -> f64 {
        let end = self.device.record().expect("a stream that runs kernels takes events");
        // Waits for the later event: all launches between them have run.
        f64::from(start.elapsed_ms(&end).expect("both events are of one stream")) * 1e6
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &Terabytes
    }
}

/// Wall time's words, and reads in TB/s: what a card's data sheet states its memory in.
struct Terabytes;

impl ValueFormatter for Terabytes {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let Throughput::BytesDecimal(bytes) = throughput else {
            return WallTime.formatter().scale_throughputs(typical, throughput, values);
        };
        for value in values {
            // Bytes a nanosecond are GB/s.
            *value = *bytes as f64 / *value / 1e3;
        }
        "TB/s"
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}

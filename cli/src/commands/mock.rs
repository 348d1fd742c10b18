//! `bench mock`: the paced server, until it is ended from outside.

use std::io::Write;
use std::process::ExitCode;

use bench_adapters::mock::{Mock, MockConfig, MockError, Pace, Script, Speculation, Stall};

use crate::args::MockArgs;
use crate::failure::Failure;

pub(crate) fn mock(args: &MockArgs) -> Result<ExitCode, Failure> {
    bench_adapters::raise_open_files();
    let mock = Mock::bind(config(args)?).map_err(|error| failure(&error))?;
    drop(writeln!(std::io::stderr(), "listening on http://{}", mock.address()));
    match mock.run() {
        Ok(never) => match never {},
        Err(error) => Err(failure(&error)),
    }
}

fn config(args: &MockArgs) -> Result<MockConfig, Failure> {
    let speculation = match args.spec.as_slice() {
        [] => None,
        pattern => Some(
            Speculation::new(pattern.to_vec(), args.spec_k)
                .map_err(|why| Failure::with_hint(why, "raise `--spec-k`, or change `--spec`"))?,
        ),
    };
    let stall = args.stall_every.zip(args.stall_ms).map(|(every, extra)| Stall { every, extra });
    let script = Script {
        pace: Pace { ttft: args.ttft_ms, itl: args.itl_ms, stall },
        tokens: args.chunks.get(),
        cap: args.cap.map(std::num::NonZeroU32::get),
        speculation,
        timings: args.timings,
        role_chunk: !args.no_role_chunk,
    };
    Ok(MockConfig { host: args.host, port: args.port, model: args.model.clone(), script })
}

fn failure(error: &MockError) -> Failure {
    Failure::with_hint(error.to_string(), "choose another `--port`, or 0 for any that is free")
}

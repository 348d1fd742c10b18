//! The table: every fault, and the row that each stack makes of it. Expectations are written by hand; the tests compare
//! them with what the runner stores, and `docs/faults.md` is this table in words.

use crate::scripts::{self, Scenario};
use crate::stacks::Case;

/// One fault.
pub(crate) struct Fault {
    /// Unique; a line of the table.
    pub(crate) name: &'static str,
    /// One sentence: when it happens, or why the row is what it is.
    pub(crate) why: &'static str,
    pub(crate) script: fn(&Case) -> Scenario,
    /// The row, unless `but` has another.
    pub(crate) row: Row,
    /// Rows of the stacks whose label begins like this.
    pub(crate) but: &'static [(&'static str, Row)],
}

/// A row as it is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// Cannot happen there.
    Never,
    /// Exactly these words; `{ordinary}`, `{kept}`, `{all}` and `{chunks}` are those of the stack.
    Is(&'static str),
    /// These words, and what a failed row has to say.
    Says(&'static str, &'static str),
    /// A failed row that says what the stack's recorded refusal says.
    Refused(&'static str),
}

impl Fault {
    /// What this stack is expected to make of it.
    pub(crate) fn row_of(&self, case: &Case) -> Row {
        let own = self.but.iter().find(|(label, _)| case.label.starts_with(label));
        own.map_or(self.row, |(_, row)| *row)
    }
}

impl Row {
    /// The row's words for this stack, and what it has to say; `None` where it cannot happen.
    pub(crate) fn words(self, case: &Case) -> Option<(String, &'static str)> {
        let (words, says) = match self {
            Self::Never => return None,
            Self::Is(words) => (words, ""),
            Self::Says(words, says) => (words, says),
            Self::Refused(words) => (words, case.refusal.2),
        };
        let words = words.replace("{ordinary}", case.ordinary).replace("{kept}", case.kept);
        let words = words.replace("{all}", case.all).replace("{chunks}", &case.chunks.to_string());
        Some((words, says))
    }

    /// The same for readers, with what stands for a stack's own words in words.
    pub(crate) fn template(self) -> Option<String> {
        let (words, says) = match self {
            Self::Never => return None,
            Self::Is(words) => (words, String::new()),
            Self::Says(words, says) => (words, format!(", saying “{says}”")),
            Self::Refused(words) => (words, ", saying what the server said".to_owned()),
        };
        let (end, rest) =
            words.split_once("; ").map_or((words, String::new()), |(end, rest)| (end, format!("; {rest}")));
        let words = format!("{end}{says}{rest}").replace("{ordinary}", "as recorded");
        let words = words.replace("{kept}", "what came before it").replace("{all}", "all but the last event");
        Some(words.replace("{chunks} chunks", "chunks"))
    }
}

use Row::{Is, Never, Refused, Says};

const ORDINARY: Row = Is("{ordinary}");
const STOP_TYPE: Row = Says("failed: protocol; {all}", "expected a stop_type of limit, eos or word");
/// A sum that jumps with the last event is one of tokens that were held back inside a character: it has no ids.
const HELD_BACK: Row = Is("completed (length); 17 tokens by usage; 5 of 31 drafts accepted in 6 steps");
/// Tokens were counted by usage alone; speculation was told beside it.
const DRAFTS_WITHOUT_USAGE: Row =
    Is("completed (length); {chunks} chunks that nobody counted; 37 of 37 drafts accepted in unknown steps");

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "none",
        why: "The recorded stream, one event a read: what the answer says is what the row says.",
        script: scripts::ordinary,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "all in one write",
        why: "A proxy or a busy client collects events; they share a stamp then, and no token is lost or counted twice.",
        script: scripts::one_write,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "cut at every byte",
        why: "TCP may cut anywhere, inside a character, a number or a line end; how it cuts never changes a row.",
        script: scripts::every_byte,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "pauses inside events",
        why: "Half an event is no event: its stamp is that of the read which completed it.",
        script: scripts::pauses,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "CRLF",
        why: "The format allows CRLF for LF, and a read may end between the two.",
        script: scripts::crlf,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "comments, ids, retry times",
        why: "llama.cpp and vLLM send comment lines to keep a connection alive; they are no output and no first token.",
        script: scripts::comments,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "an event in several data lines",
        why: "The format joins them with LF, which JSON takes for a space.",
        script: scripts::many_lines,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "no [DONE]",
        why: "It is a habit, not the finish: the finish reason came before it.",
        script: scripts::no_done,
        row: ORDINARY,
        but: &[("llama-server /completion", Never), ("llama-swap /completion", Never)],
    },
    Fault {
        name: "nonsense after the end",
        why: "After the finish nothing matters, and nothing of it is read.",
        script: scripts::more_after_the_end,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "a body without a length",
        why: "An old proxy ends the body by closing the connection; the finish reason came, so nothing is missing.",
        script: scripts::no_length,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "a body without a length ends early",
        why: "Nothing but the missing finish reason tells this end from a good one.",
        script: scripts::no_length_no_finish,
        row: Says("failed: aborted; {kept}", "neither stop nor finish_reason came"),
        but: &[],
    },
    Fault {
        name: "a tidy end without a finish",
        why: "So llama-swap ends the stream of a server that was killed: status 200, a complete body; tokens that came \
              are kept, and the row is no success.",
        script: scripts::tidy_end,
        row: Says("failed: aborted; {kept}", "neither stop nor finish_reason came"),
        but: &[],
    },
    Fault {
        name: "a tidy end, and the server behind is gone",
        why: "llama-swap's list of what runs and its log tell a crash from a cut; nobody else can be asked about a \
              server that is not ours.",
        script: scripts::tidy_end_and_lost,
        row: Says("failed: aborted; {kept}", "neither stop nor finish_reason came"),
        but: &[(
            "llama-swap",
            Says(
                "failed: aborted, with the server's death; {kept}",
                "(model tiny) ended by itself (upstream process exited unexpectedly)",
            ),
        )],
    },
    Fault {
        name: "[DONE] without a finish",
        why: "A proxy may add its own [DONE] to a stream that broke behind it.",
        script: scripts::done_without_finish,
        row: Says("failed: aborted; {kept}", "neither stop nor finish_reason came"),
        but: &[],
    },
    Fault {
        name: "a body without its last chunk",
        why: "So ends the stream of a server that got SIGABRT, which is what GGML_ABORT does.",
        script: scripts::cut_body,
        row: Says("failed: aborted; {kept}", "the stream ended without a finish after 5 events"),
        but: &[],
    },
    Fault {
        name: "a reset in mid-stream",
        why: "A killed proxy, a firewall, a server out of memory.",
        script: scripts::reset,
        row: Says("failed: aborted; {kept}", "the stream ended without a finish after 5 events"),
        but: &[],
    },
    Fault {
        name: "half a line, then the end",
        why: "Half an event is never guessed at, however much of its JSON came.",
        script: scripts::half_line,
        row: Says("failed: aborted; {kept}", "inside an event"),
        but: &[],
    },
    Fault {
        name: "a whole line without its blank line",
        why: "The blank line dispatches an event; without it the sender did not get to its end.",
        script: scripts::half_event,
        row: Says("failed: aborted; {kept}", "inside an event"),
        but: &[],
    },
    Fault {
        name: "an empty stream",
        why: "A status of 200 promises nothing.",
        script: scripts::nothing_at_all,
        row: Says("failed: aborted; no output", "neither stop nor finish_reason came"),
        but: &[],
    },
    Fault {
        name: "an error event",
        why: "Once the head is sent, a server can tell of its failure only in the stream; its words are kept.",
        script: scripts::error_event,
        row: Says("failed: aborted; {kept}", "the server said: out of memory"),
        but: &[],
    },
    Fault {
        name: "an event that is no JSON",
        why: "What cannot be read is not skipped: it might have been a token.",
        script: scripts::no_json,
        row: Says("failed: protocol; {kept}", "{nonsense"),
        but: &[],
    },
    Fault {
        name: "invalid UTF-8",
        why: "The format is UTF-8; a replaced character would hide the fault in the text.",
        script: scripts::invalid_utf8,
        row: Says("failed: protocol; {kept}", "not UTF-8"),
        but: &[],
    },
    Fault {
        name: "an event of 10 MB",
        why: "The largest real event, a prompt of a million tokens echoed, stays below the limit of 8 MiB.",
        script: scripts::big_event,
        row: Says("failed: protocol; {kept}", "an event of more than 8388608 bytes"),
        but: &[],
    },
    Fault {
        name: "an event without end",
        why: "Reading stops at the limit, and the memory that is held with it.",
        script: scripts::endless_event,
        row: Says("failed: protocol; {kept}", "an event of more than 8388608 bytes"),
        but: &[],
    },
    Fault {
        name: "an unknown finish reason",
        why: "A reason that we do not know may be a filter or an abort: it is no finish.",
        script: scripts::unknown_reason,
        row: Says("failed: protocol; {all}", "expected a finish_reason of length, stop or tool_calls"),
        but: &[("llama-server /completion", STOP_TYPE), ("llama-swap /completion", STOP_TYPE)],
    },
    Fault {
        name: "the running count goes back",
        why: "Another request's events, or a proxy that answers twice: no count of this stream can be believed.",
        script: scripts::count_goes_back,
        row: Says("failed: protocol; {kept}", "the count of emitted tokens went back"),
        but: &[
            ("llama-server /v1/completions", Never),
            ("llama-swap /v1/chat/completions", Never),
            ("openai", Never),
        ],
    },
    Fault {
        name: "no usage",
        why: "llama.cpp's timings count, too; where only usage counts, the number of chunks is not taken for it.",
        script: scripts::usage_missing,
        row: ORDINARY,
        but: &[
            ("llama-server /completion", Never),
            ("llama-swap /completion", Never),
            ("vllm", DRAFTS_WITHOUT_USAGE),
            ("openai", DRAFTS_WITHOUT_USAGE),
        ],
    },
    Fault {
        name: "no counts at all",
        why: "Unknown stays unknown: a chunk may hold any number of tokens.",
        script: scripts::all_counts_missing,
        row: Is("completed (length); {chunks} chunks that nobody counted"),
        but: &[],
    },
    Fault {
        name: "no counts but the counters'",
        why: "Two readings around a request that ran alone give its drafts, not its tokens.",
        script: scripts::only_counters,
        row: Is(
            "completed (length); {chunks} chunks that nobody counted; 5 of 31 drafts accepted in unknown steps",
        ),
        but: &[],
    },
    Fault {
        name: "usage 5 too high",
        why: "Disputed wherever something else counted; where usage is all there is, nothing can contradict it.",
        script: scripts::usage_wrong,
        row: Is(
            "completed (length); 53 tokens by usage, disputed; 37 of 37 drafts accepted in unknown steps",
        ),
        but: &[
            ("llama-server /completion", HELD_BACK),
            ("llama-swap /completion", HELD_BACK),
            (
                "llama-server /v1/completions",
                Is("completed (length); 13 tokens by usage; 2 of 19 drafts accepted in 5 steps"),
            ),
            (
                "llama-server /v1/chat/completions",
                Is("completed (length); 17 tokens by usage, disputed; 8 of 17 drafts accepted in 3 steps"),
            ),
            (
                "llama-swap /v1/chat/completions",
                Is("completed (length); 13 tokens by usage; 4 of 7 drafts accepted in 3 steps"),
            ),
            (
                "openai",
                Is("completed (length); 53 tokens by usage; 37 of 37 drafts accepted in unknown steps"),
            ),
        ],
    },
    Fault {
        name: "a refusal",
        why: "The server's own words are the row's: too long a prompt, an unknown model, a bad parameter.",
        script: scripts::refusal,
        row: Refused("failed: http_status; no output"),
        but: &[],
    },
    Fault {
        name: "500 with a message",
        why: "vLLM says so for every request once its engine is dead.",
        script: scripts::server_error,
        row: Says("failed: http_status; no output", "answered 500: EngineCore encountered an issue"),
        but: &[],
    },
    Fault {
        name: "503 while loading",
        why: "llama.cpp answers everything so until its model is loaded; a request is not repeated, it is a result.",
        script: scripts::loading,
        row: Says("failed: http_status; no output", "answered 503: Loading model"),
        but: &[],
    },
    Fault {
        name: "503 with a page",
        why: "A proxy's error is HTML; its beginning is kept.",
        script: scripts::html_error,
        row: Says("failed: http_status; no output", "answered 503: <html>"),
        but: &[],
    },
    Fault {
        name: "502 without a body",
        why: "So llama-swap hands on that the server behind it died before its first byte.",
        script: scripts::bad_gateway,
        row: Says("failed: http_status; no output", "answered 502"),
        but: &[(
            "llama-swap",
            Says("failed: aborted, with the server's death; no output", "the server behind it is gone"),
        )],
    },
    Fault {
        name: "200 that is no stream",
        why: "A server or proxy that does not stream gives one time for all tokens, which is no measurement.",
        script: scripts::no_stream,
        row: Says("failed: protocol; no output", "expected text/event-stream, got application/json"),
        but: &[],
    },
    Fault {
        name: "no HTTP",
        why: "Something else listens there.",
        script: scripts::no_http,
        row: Says("failed: unreachable; no output", "cannot reach"),
        but: &[],
    },
    Fault {
        name: "closed without an answer",
        why: "The server died with the request in its hands, before a response head.",
        script: scripts::no_answer,
        row: Says("failed: unreachable; no output", "cannot reach"),
        but: &[],
    },
    Fault {
        name: "nobody listens",
        why: "A server that is not ours is not started by us; the run goes on and says so for each request.",
        script: scripts::refused_connection,
        row: Says("failed: unreachable; no output", "refused"),
        but: &[],
    },
    Fault {
        name: "silence",
        why: "A server that hangs ends by the request's deadline, and what came before is kept.",
        script: scripts::silence,
        row: Is("timed out; {kept}"),
        but: &[],
    },
    Fault {
        name: "slow loris in the head",
        why: "Bytes that trickle are no progress: the deadline is the request's, not a read's.",
        script: scripts::slow_head,
        row: Is("timed out; no output"),
        but: &[],
    },
    Fault {
        name: "slow loris in an event",
        why: "The same after output came.",
        script: scripts::slow_event,
        row: Is("timed out; {kept}"),
        but: &[],
    },
    Fault {
        name: "the user stops the run",
        why: "A cancelled request is no failure of the stack, even where the end of its stream looks like a crash.",
        script: scripts::cancelled,
        row: Is("cancelled; {kept}"),
        but: &[],
    },
    Fault {
        name: "a restart between two requests",
        why: "Another process answers than before, and we did not start it: it may be cold, and something killed the old \
              one.",
        script: scripts::restarted_between,
        row: Is("{ordinary}; restarted in silence"),
        but: &[],
    },
    Fault {
        name: "a restart around a request",
        why: "The counters went back: their difference is no count and is not used.",
        script: scripts::restarted_within,
        row: Is("{ordinary}; restarted in silence"),
        but: &[],
    },
    Fault {
        name: "counters that disagree",
        why: "Somebody else used the server, or it counts otherwise; the response is believed and the row keeps both.",
        script: scripts::counters_disagree,
        row: Is("{ordinary}; the counters say 1 of 40"),
        but: &[],
    },
    Fault {
        name: "counters that cannot be read",
        why: "They are evidence beside the row: without them it is whole, and the run says that they are missing.",
        script: scripts::counters_broken,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "counters refused with 500",
        why: "Likewise: a metrics route that fails does not fail a request.",
        script: scripts::counters_refused,
        row: ORDINARY,
        but: &[],
    },
    Fault {
        name: "llama-swap's loading messages",
        why: "With `sendLoadingState` it writes \"reasoning\" of its own while a model loads: no output, and no first \
              token.",
        script: scripts::loading_state,
        row: Never,
        but: &[("llama-swap /v1/chat/completions", ORDINARY)],
    },
];

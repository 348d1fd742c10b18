//! States that a server passes through too quickly to be met from outside.

use std::net::Ipv4Addr;
use std::num::NonZeroUsize;

use bench_engine::DeviceChoice;
use bench_engine::kv_cache::KvType;

use super::*;

fn config() -> ServeConfig {
    let engine = EngineConfig {
        target: "models/some.gguf".into(),
        assistant: None,
        context_tokens: 8,
        kv_type: KvType::F16.into(),
        threads: NonZeroUsize::MIN,
        device: DeviceChoice::Cpu,
        ple_table: bench_engine::model::PleTable::Auto,
        speculation: Speculation::None,
    };
    let api_key = ApiKey::new("secret".to_owned());
    ServeConfig { engine, host: Ipv4Addr::LOCALHOST.into(), port: 0, queue: 1, alias: None, api_key }
}

#[tokio::test]
async fn while_it_loads_every_route_says_so_and_a_failed_load_is_told() {
    let (go_on, gate) = oneshot::channel::<()>();
    let load = move || {
        assert!(gate.blocking_recv().is_err());
        Err(EngineError::MissingAssistant { target: "models/some.gguf".into() })
    };
    let mut server = Server::start_with(&config(), load).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", server.address());
    let health = client.get(url("/health")).send().await.unwrap();
    assert_eq!((health.status().as_u16(), health.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    let body: serde_json::Value = health.json().await.unwrap();
    assert_eq!(body["error"]["message"], "Loading model");
    assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&"unavailable_error".into(), &503.into()));
    let post = client.post(url("/completion")).bearer_auth("secret").body("{}").send().await.unwrap();
    assert_eq!(post.status().as_u16(), 503);
    drop(go_on);
    let error = server.ready().await.unwrap_err();
    assert!(error.to_string().contains("assistant") && error.hint().is_some(), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn an_engine_that_panics_is_noticed() {
    let mut server = Server::start_with(&config(), || panic!("on purpose")).await.unwrap();
    assert!(server.ready().await.unwrap_err().to_string().contains("panicked"));
    assert!(server.shared.queue.is_closed());
}

#[test]
fn a_key_is_compared_whole_and_never_printed() {
    let key = ApiKey::new("secret".to_owned()).unwrap();
    assert!(key.is(b"secret"));
    for wrong in [&b""[..], b"secre", b"secrets", b"Secret"] {
        assert!(!key.is(wrong));
    }
    assert!(!format!("{:?}", config()).contains("secret"));
    assert!(ApiKey::new(String::new()).is_none());
}

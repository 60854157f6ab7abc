//! One execution for all subscribers who ask the same with the same rights: its answers are computed
//! and encoded once, and every socket sends the same bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use futures_util::{StreamExt, stream::BoxStream};
use tokio::{sync::watch, task::AbortHandle};

use super::Payload;
use crate::domain::viewer::Scope;

/// What makes two subscriptions the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubscriptionKey {
    pub query: String,
    pub operation_name: Option<String>,
    /// As JSON text.
    pub variables: String,
    pub scope: Option<Scope>,
}

#[derive(Clone, Default)]
struct Latest {
    payload: Option<Payload>,
    is_ended: bool,
}

/// A running execution; it ends with its last subscriber.
struct Running {
    latest: watch::Receiver<Latest>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The executions that run now.
#[derive(Clone, Default)]
pub struct SharedSubscriptions {
    running: Arc<Mutex<HashMap<SubscriptionKey, Weak<Running>>>>,
}

impl SharedSubscriptions {
    /// Joins the execution of this key, or starts it. The stream holds the newest payload only: who is
    /// slow skips to it.
    pub fn join(
        &self,
        key: SubscriptionKey,
        start: impl FnOnce() -> BoxStream<'static, Payload>,
    ) -> BoxStream<'static, Payload> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = running.get(&key).and_then(Weak::upgrade).filter(|joined| !joined.latest.borrow().is_ended);
        let joined = joined.unwrap_or_else(|| {
            let (sender, latest) = watch::channel(Latest::default());
            let task = tokio::spawn(publish(start(), sender)).abort_handle();
            let started = Arc::new(Running { latest, task });
            running.retain(|_, weak| weak.strong_count() > 0);
            running.insert(key, Arc::downgrade(&started));
            started
        });
        let mut latest = joined.latest.clone();
        latest.mark_changed();
        futures_util::stream::unfold((latest, joined), |(mut latest, joined)| async move {
            loop {
                let now = if latest.changed().await.is_err() {
                    return None;
                } else {
                    latest.borrow_and_update().clone()
                };
                match now {
                    Latest { payload: Some(payload), is_ended: false } => return Some((payload, (latest, joined))),
                    // The last payload, then the end.
                    Latest { payload: Some(payload), is_ended: true } => {
                        let (ended, receiver) = watch::channel(Latest { payload: None, is_ended: true });
                        drop(ended);
                        return Some((payload, (receiver, joined)));
                    }
                    Latest { payload: None, is_ended: true } => return None,
                    Latest { payload: None, is_ended: false } => {}
                }
            }
        })
        .boxed()
    }
}

async fn publish(mut payloads: BoxStream<'static, Payload>, sender: watch::Sender<Latest>) {
    let mut last = None;
    while let Some(payload) = payloads.next().await {
        last = Some(payload.clone());
        let _ = sender.send_replace(Latest { payload: Some(payload), is_ended: false });
    }
    let _ = sender.send_replace(Latest { payload: last, is_ended: true });
}

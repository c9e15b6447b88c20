//! Starts the planning and sending of pushes, and the e-mail digests.

use std::sync::Arc;

use tokio::sync::Notify;

use super::core::{PushCore, PushError};
use super::deliveries::Deliveries;
use super::digests::DigestMailer;
use super::notifier::PushNotifier;
use crate::config::{Config, PushSettings};
use crate::domain::base::Base;
use crate::domain::tasks::Tasks;
use crate::live::Live;
use crate::notices::Notifier;
use crate::push::VapidKey;

/// The services of push notifications on a node.
pub(in crate::domain) struct Pushes {
    pub(in crate::domain) core: Arc<PushCore>,
    deliveries: Deliveries,
}

impl Pushes {
    /// Checks the file of PUSH_VAPID_KEY_FILE, before anything is started.
    pub(in crate::domain) fn check(settings: &PushSettings) -> Result<(), PushError> {
        VapidKey::from_settings(settings)?;
        Ok(())
    }

    pub(in crate::domain) async fn start(
        tasks: &mut Tasks,
        base: &Base,
        live: &Live,
        notices: &Notifier,
        config: &Config,
    ) -> Result<Self, PushError> {
        let public_url = config.issuers.public_url.as_ref();
        let settings = config.push.clone().with_public_url(public_url);
        let core = Arc::new(PushCore::open(base, live, notices.push_texts(), &settings).await?);
        // Wakes the deliveries of this node. The other nodes poll.
        let wake = Arc::new(Notify::new());
        tasks.spawn(PushNotifier::open(&core, &config.log).await?.run(Arc::clone(&wake)));
        let deliveries = Deliveries::new(&core, &settings, config.log.tail_poll_interval);
        tasks.spawn(deliveries.clone().run(wake));
        if let Some(mailer) = DigestMailer::new(&core, notices, &settings, public_url) {
            tasks.spawn(mailer.run());
        }
        Ok(Self { core, deliveries })
    }

    /// Waits for the pushes in flight at the end of the node.
    pub(in crate::domain) async fn close(&self) {
        self.deliveries.close().await;
    }
}

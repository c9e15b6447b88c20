//! Schema extension that runs an action of the request when the document of the request has passed validation.

use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{ServerError, ValidationResult};

/// Data of a request: the action to run when the document of the request is valid.
pub struct OnValid(Box<dyn Fn() + Send + Sync>);

impl OnValid {
    pub fn new(action: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(action))
    }
}

/// Schema extension that runs the action of `OnValid`.
pub(super) struct Validation;

impl ExtensionFactory for Validation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Validation {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(ctx).await?;
        if let Some(OnValid(action)) = ctx.data_opt() {
            action();
        }
        Ok(result)
    }
}

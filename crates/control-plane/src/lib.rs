//! The service that knows every user and every workspace, and drives hosts to what people asked for.

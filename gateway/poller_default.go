package gateway

const defaultPoller = "portable"

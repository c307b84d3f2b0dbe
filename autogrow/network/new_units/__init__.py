"""New units before they are part of the network: where their weights are, a copy to try them on, their gradients."""

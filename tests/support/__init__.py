"""What tests share: a pipeline to start, accounts of topics, handlers, processes that die."""

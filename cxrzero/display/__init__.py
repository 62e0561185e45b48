"""Text of files and of users on its way to people: what a terminal or a page would act on is made visible."""

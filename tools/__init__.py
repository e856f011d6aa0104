"""Scripts for whoever changes the repository; nothing here ships."""

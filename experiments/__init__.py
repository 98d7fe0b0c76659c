"""What is measured or tried beside the package; nothing in ganjax imports from here."""

"""What both sides share: plain data, its words and its forms. Pure, and it imports nothing else of saltdeploy."""
